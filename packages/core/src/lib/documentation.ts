/** The page of problem types and option errors, with one heading for each code. */
export const documentation = "https://github.com/portcullis/portcullis/blob/main/docs/errors.md";
/** The page of findings. */
export const operations = "https://github.com/portcullis/portcullis/blob/main/docs/operations.md";
/** The page of the warnings of login throttles. */
export const logins = "https://github.com/portcullis/portcullis/blob/main/docs/login.md";
