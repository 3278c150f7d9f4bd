// The bridge of core under the name of the package that the application has installed.
export * from "@portcullis/core/opentelemetry";
