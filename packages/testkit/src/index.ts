export { makeCertificates } from "./net/certificates.js";
export type { Certificates, Identity } from "./net/certificates.js";
export { startProxy } from "./net/proxy.js";
export type { Proxy, ProxyMode } from "./net/proxy.js";
export * from "./redis/index.js";
export * from "./dpop.js";
export * from "./issuer.js";
export * from "./tokens.js";
