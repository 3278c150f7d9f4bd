/** What a middleware does with a refusal: answer it, or throw a DenialError for the application's error handler. */
export interface DenyOptions {
  /** @default "respond" */
  readonly onDeny?: "respond" | "throw" | undefined;
}
