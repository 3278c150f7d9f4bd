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

/**
 * The logger of an application, whose failures disturb nobody: a line is less than the request, the call or the process that
 * writes it. What it throws or rejects with is dropped, since its text may contain the fields; the first failure is told by
 * `process.emitWarning`.
 */
export function createSafeLogger(logger: Logger): Logger {
  let hasFailed = false;

  function noteFailure(): void {
    if (hasFailed) return;
    hasFailed = true;
    process.emitWarning("portcullis: the logger threw or rejected; lines may be missing", "PortcullisWarning");
  }

  function write(method: "debug" | "warn", fields: object, message: string): void {
    try {
      const written: unknown = logger[method](fields, message);
      if (written instanceof Promise) written.catch(noteFailure);
    } catch {
      noteFailure();
    }
  }

  return {
    debug: (fields, message) => write("debug", fields, message),
    warn: (fields, message) => write("warn", fields, message),
  };
}

function drop(): void {
  return;
}

/** May the logger write debug messages? Their fields cost time. */
export function hearsDebug(logger: Logger): boolean {
  return logger.debug !== drop;
}
