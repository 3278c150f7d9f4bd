/** Where every problem `type` and every start-up error points: one heading for each code. */
export const documentation = "https://github.com/portcullis/portcullis/blob/main/docs/errors.md";
/** Where every finding of an examination points. */
export const operations = "https://github.com/portcullis/portcullis/blob/main/docs/operations.md";
/** Where the warnings of login throttles point. */
export const logins = "https://github.com/portcullis/portcullis/blob/main/docs/login.md";
