// Pictures as SVG, without a library: bars and lines. A picture has a background of its own, for light and dark pages.

const style = `
  .ground { fill: #ffffff; stroke: #d0d7de; } .text { fill: #1f2328; } .soft { fill: #59636e; } .rule { stroke: #d0d7de; }
  .c0 { fill: #8c959f; } .c1 { fill: #57ab5a; } .c2 { fill: #0969da; } .c3 { fill: #bf8700; }
  .l0 { stroke: #0969da; } .l1 { stroke: #bf8700; } .l2 { stroke: #57ab5a; } .l3 { stroke: #8250df; }
  .line { fill: none; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d; } .text { fill: #f0f6fc; } .soft { fill: #9198a1; } .rule { stroke: #3d444d; }
    .c2 { fill: #4493f8; } .l0 { stroke: #4493f8; } .l3 { stroke: #ab7df8; }
  }
  text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; } .title { font-weight: 600; font-size: 15px; }
  .small { font-size: 11px; }`;

function escape(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

function text(x, y, words, { kind = "text", anchor = "start" } = {}) {
  return `<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${escape(words)}</text>`;
}

function frame({ width, height, title, parts }) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escape(title)}">`,
    `<style>${style}\n</style>`,
    `<rect class="ground" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

/**
 * Horizontal bars in groups.
 *
 * @param {{ title: string, note: string, groups: { title: string, bars: { title: string, value: number, label: string, kind: number }[] }[] }} picture
 *   `kind` chooses the colour: 0 to 3.
 */
export function bars({ title, note, groups }) {
  const [width, left, right, step] = [880, 370, 130, 22];
  const most = Math.max(...groups.flatMap((group) => group.bars.map(({ value }) => value)));
  const parts = [text(20, 30, title, { kind: "text title" }), text(20, 50, note, { kind: "soft small" })];
  let y = 62;
  for (const group of groups) {
    y += 24;
    parts.push(text(20, y, group.title, { kind: "text title" }));
    y += 8;
    for (const { title: name, value, label, kind } of group.bars) {
      const length = Math.max(1, Math.round(((width - left - right) * value) / most));
      parts.push(
        text(left - 10, y + 14, name, { anchor: "end" }),
        `<rect class="c${kind}" x="${left}" y="${y + 3}" width="${length}" height="${step - 7}" rx="2"/>`,
        text(left + length + 8, y + 14, label, { kind: "soft" }),
      );
      y += step;
    }
  }
  return frame({ width, height: y + 16, title, parts });
}

/**
 * Small plots beside each other, each with the same lines over points of equal distance.
 *
 * @param {{ title: string, note: string, plots: { title: string, points: string[], lines: { title: string, values: number[] }[] }[] }} picture
 */
export function plots({ title, note, plots: all }) {
  const [columns, cellWidth, cellHeight, inner] = [3, 250, 186, { left: 42, top: 40, width: 190, height: 118 }];
  const width = columns * cellWidth + 20;
  const height = 66 + Math.ceil(all.length / columns) * cellHeight;
  const parts = [text(20, 30, title, { kind: "text title" }), text(20, 50, note, { kind: "soft small" })];
  all[0].lines.forEach(({ title: name }, line) => {
    const x = width - 330 + line * 110;
    parts.push(
      `<line class="line l${line}" x1="${x}" y1="26" x2="${x + 16}" y2="26"/>`,
      text(x + 21, 30, name, { kind: "soft small" }),
    );
  });
  for (const [index, plot] of all.entries()) {
    const x0 = 14 + (index % columns) * cellWidth + inner.left;
    const y0 = 58 + Math.floor(index / columns) * cellHeight + inner.top;
    const most = Math.max(...plot.lines.flatMap(({ values }) => values.filter(Number.isFinite))) * 1.15;
    const place = (value, at) => [
      x0 + (plot.points.length === 1 ? inner.width / 2 : (at * inner.width) / (plot.points.length - 1)),
      y0 + inner.height * (1 - value / most),
    ];
    parts.push(text(x0 - 30, y0 - 20, plot.title, { kind: "text small" }));
    for (const share of [0, 0.5, 1]) {
      const y = y0 + inner.height * (1 - share);
      parts.push(
        `<line class="rule" x1="${x0}" y1="${y}" x2="${x0 + inner.width}" y2="${y}"/>`,
        text(x0 - 5, y + 4, round(most * share), { kind: "soft small", anchor: "end" }),
      );
    }
    plot.points.forEach((point, at) =>
      parts.push(text(place(0, at)[0], y0 + inner.height + 15, point, { kind: "soft small", anchor: "middle" })),
    );
    plot.lines.forEach(({ values }, line) => {
      const places = values
        .map((value, at) => place(value, at).map((one) => one.toFixed(1)))
        .filter((_, at) => Number.isFinite(values[at]));
      parts.push(`<polyline class="line l${line}" points="${places.map((one) => one.join(",")).join(" ")}"/>`);
    });
  }
  return frame({ width, height, title, parts });
}

function round(value) {
  return value >= 10 ? String(Math.round(value)) : value === 0 ? "0" : value.toPrecision(2);
}
