export * from "@portcullis/core/testing";
