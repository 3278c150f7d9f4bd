/** The methods of a logger, such as pino, that Portcullis calls. It never logs a secret. */
export interface Logger {
  /** Logs a refusal, and what is useful to find a fault. */
  debug(fields: object, message: string): void;
  /** Logs a state that an operator should change. */
  warn(fields: object, message: string): void;
}

/** The default logger: it drops debug messages and passes each warning to `process.emitWarning` once. */
export function createDefaultLogger(): Logger {
  const warned = new Set<string>();
  return {
    debug: drop,
    warn(_fields, message) {
      if (warned.has(message) || warned.size >= 100) return;
      warned.add(message);
      process.emitWarning(message, "PortcullisWarning");
    },
  };
}

function drop(): void {
  return;
}

/** May the logger write debug messages? Their fields cost time. */
export function hearsDebug(logger: Logger): boolean {
  return logger.debug !== drop;
}
