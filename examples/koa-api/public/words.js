// How the page says things.

/** The browser and the system that a User-Agent field names, and whether they are those of a phone. */
export function describeDevice(userAgent) {
  const browser = /Edg\//.test(userAgent)
    ? "Edge"
    : /Firefox\//.test(userAgent)
      ? "Firefox"
      : /Chrome\//.test(userAgent)
        ? "Chrome"
        : /Safari\//.test(userAgent)
          ? "Safari"
          : (/^[\w.-]+/.exec(userAgent)?.[0] ?? "An unknown client");
  const system = /iPhone|iPad/.test(userAgent)
    ? "iOS"
    : /Android/.test(userAgent)
      ? "Android"
      : /Windows/.test(userAgent)
        ? "Windows"
        : /Mac OS/.test(userAgent)
          ? "macOS"
          : /Linux/.test(userAgent)
            ? "Linux"
            : undefined;
  const kind = /Mobile|iPhone|Android/.test(userAgent) ? "phone" : "desktop";
  return { name: system === undefined ? browser : `${browser} on ${system}`, kind };
}

export function describeAge(seconds) {
  const minutes = Math.max(0, Math.floor((Date.now() / 1000 - seconds) / 60));
  if (minutes < 1) return "just now";
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (minutes < 60) return words.format(-minutes, "minute");
  if (minutes < 1440) return words.format(-Math.floor(minutes / 60), "hour");
  return words.format(-Math.floor(minutes / 1440), "day");
}

export function describeWait(seconds) {
  if (!(seconds > 90)) return `${Math.max(1, seconds || 1)} s`;
  return `${Math.ceil(seconds / 60)} minutes`;
}
