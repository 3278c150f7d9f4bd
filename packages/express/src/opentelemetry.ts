export * from "@portcullis/core/opentelemetry";
