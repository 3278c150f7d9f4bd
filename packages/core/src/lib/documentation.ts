// These documents are files of this package: tools/ship-documents.mjs puts them there.

/** The page of refusals and option errors, with one heading for each code. */
export const documentation = "@portcullis/core/docs/errors.md";
/** The page of findings. */
export const operations = "@portcullis/core/docs/operations.md";
/** The page of the warnings of login throttles. */
export const logins = "@portcullis/core/docs/login.md";
