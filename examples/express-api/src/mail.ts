/** The purpose of the one-time values in these mails: their tokens are worth nothing elsewhere. */
export const purpose = "confirm-email";

/** What the link of a mail stands for. */
export interface Confirmation {
  readonly user: string;
  readonly email: string;
}

/**
 * Stands in for a mail server: prints the mail. The link opens a page with a button, since mail scanners open every link. The
 * token is in the fragment, which browsers send to nobody, so that it is in no log.
 */
export function mailLink(publicUrl: string, email: string, token: string): void {
  console.log(`\nmail to ${email}\nConfirm your address: ${publicUrl}/confirm#${token}\n`);
}
