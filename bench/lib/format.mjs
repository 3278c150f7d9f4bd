/** A Markdown table: the first column to the left, figures to the right. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column].length)));
  const lines = cells.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))),
  );
  const rule = widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [lines[0], rule, ...lines.slice(1)].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** A ratio; with its spread, as `0.71 (0.68-0.75)`. */
export function ratio(value) {
  if (typeof value === "number") return `${fixed(value, 2)}x`;
  return `${fixed(value.median, 2)}x (${fixed(value.least, 2)}-${fixed(value.most, 2)})`;
}

export function fixed(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits) : "-";
}

/** 1234567 as `1,234,567`. */
export function grouped(value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "-";
}
