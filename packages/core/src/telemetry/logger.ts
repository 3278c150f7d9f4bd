/** The part of a pino-like logger that Portcullis calls. Nothing secret is ever passed to it. */
export interface Logger {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Silent but for warnings, which go to `process.emitWarning` once each. */
export function createDefaultLogger(): Logger {
  const warned = new Set<string>();
  return {
    debug() {
      return;
    },
    warn(_fields, message) {
      if (warned.has(message) || warned.size >= 100) return;
      warned.add(message);
      process.emitWarning(message, "PortcullisWarning");
    },
  };
}
