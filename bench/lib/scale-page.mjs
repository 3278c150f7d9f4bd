// The tables and the picture of suite "scale", from its figures alone.
import { plots } from "./chart.mjs";
import { fixed, grouped, table } from "./format.mjs";

export const dimensions = [
  { name: "users", title: "Users", sizes: [1e3, 1e4, 1e5, 1e6], kept: "bytes of a user's counter in Redis" },
  { name: "policies", title: "Limits a request", sizes: [1, 2, 4, 8] },
  { name: "revoked", title: "Revoked tokens", sizes: [0, 1e4, 1e5, 1e6], kept: "bytes of a record in Redis" },
  { name: "sessions", title: "Live sessions", sizes: [0, 1e4, 1e5], kept: "bytes of a session in Redis" },
  { name: "processes", title: "Server processes on one core", sizes: [1, 2, 4] },
  { name: "masters", title: "Masters of Redis (three are a Cluster)", sizes: [1, 3] },
];

/** @returns {string} Markdown of a run. */
export function pageOfScale(run) {
  const { date, how, commit, node, redis, load, machine, pinned, loadBefore } = run;
  return [
    [
      `* ${date} UTC, ${how}${commit === undefined ? "" : `, commit ${commit}`}`,
      `* Node ${node}, Redis ${redis}, load by ${load}`,
      `* ${machine}; ${pinned}`,
      `* load average before the run: ${loadBefore.join(", ")} (above about 0.3, something else was running)`,
    ].join("\n"),
    ...dimensions.flatMap(({ name, title }) => [`### ${title}`, tableOf(run, name)]),
  ].join("\n\n");
}

/** @returns {string} The table of one dimension. */
export function tableOf({ rows }, name) {
  const { title, kept } = dimensions.find((one) => one.name === name);
  const columns = [
    ["server CPU us", "cpu", 1],
    ["Redis CPU us", "redisCpu", 2],
    ["script calls", "scripts", 3],
    ["bytes to Redis", "toRedis", 0],
    ["bytes from Redis", "fromRedis", 0],
    ["requests/s", "throughput", 0],
    ["server MB", "rssMb", 0],
    ["Redis MB", "redisMb", 1],
    ...(kept === undefined ? [] : [[kept, "bytesEach", 0]]),
    ["not 200", "failed", 0],
  ];
  return table(
    [title.toLowerCase(), "", ...columns.map(([head]) => head)],
    rows
      .filter(({ dimension }) => dimension === name)
      .map((row) => [
        grouped(row.size),
        row.mode === "leased" ? "leased + tracked" : row.mode,
        ...columns.map(([, member, digits]) => fixed(row[member] ?? Number.NaN, digits)),
      ]),
  );
}

/** @returns {string} SVG. */
export function pictureOfScale(run) {
  return plots({
    title: "CPU of a request, as things grow",
    note: `us; Node ${run.node}, commit ${run.commit ?? "unknown"}, ${run.date.slice(0, 10)}, Koa; leased: revocations tracked too`,
    plots: dimensions.map(({ name, title }) => {
      const rows = run.rows.filter(({ dimension }) => dimension === name);
      const points = [...new Set(rows.map(({ size }) => size))];
      const values = (mode, member) =>
        points.map((size) => rows.find((row) => row.mode === mode && row.size === size)?.[member] ?? Number.NaN);
      return {
        title,
        points: points.map(short),
        lines: [
          { title: "server, exact", values: values("exact", "cpu") },
          { title: "server, leased", values: values("leased", "cpu") },
          { title: "Redis, exact", values: values("exact", "redisCpu") },
        ],
      };
    }),
  });
}

function short(size) {
  return size >= 1e6 ? `${size / 1e6}M` : size >= 1e3 ? `${size / 1e3}k` : String(size);
}

const target = 1_000_000;
/** How busy a core may be in normal operation: the rest is for peaks and for the loss of a part. */
const busy = { server: 0.6, redis: 0.5 };
const activeUsers = 10_000_000;
const revokedTokens = 1_000_000;

/**
 * A million requests a second on a Cluster, computed from the figures of a run.
 *
 * @returns {string} Markdown.
 */
export function tableOfMillion({ rows }) {
  const of = (dimension, mode, size) =>
    rows.find((row) => row.dimension === dimension && row.mode === mode && row.size === size) ?? {};
  const largest = (dimension) => Math.max(...rows.filter((row) => row.dimension === dimension).map(({ size }) => size));
  const on = (mode) => of("masters", mode, largest("masters"));
  const masters = (mode) => Math.ceil((target * on(mode).redisCpu) / 1e6 / busy.redis);
  const processes = (mode) => Math.ceil((target * on(mode).cpu) / 1e6 / busy.server);
  const gigabit = (bytes) => `${fixed((target * bytes * 8) / 1e9, 1)} Gbit/s`;
  const gigabytes = (count, bytes) => `${fixed((count * bytes) / 2 ** 30, 1)} GiB`;
  const counter = of("users", "exact", largest("users")).bytesEach;
  const record = of("revoked", "exact", largest("revoked")).bytesEach;
  const both = (make) => [make("exact"), make("leased")];
  const lines = [
    [
      "server CPU of a request, us",
      ...both((mode) => fixed(on(mode).cpu, 1)),
      "measured, on a Cluster of three masters",
    ],
    [
      "Redis CPU of a request, us, all masters together",
      ...both((mode) => fixed(on(mode).redisCpu, 2)),
      "measured, the same",
    ],
    ["script calls of a request", ...both((mode) => fixed(on(mode).scripts, 3)), "measured, the same"],
    ["server processes", ...both(processes), `arithmetic: a process is ${busy.server * 100} % busy`],
    ["requests/s of a process", ...both((mode) => grouped(target / processes(mode))), "arithmetic"],
    ["masters (shards)", ...both(masters), `arithmetic: a master is ${busy.redis * 100} % busy`],
    ["script calls a second", ...both((mode) => grouped(target * on(mode).scripts)), "arithmetic"],
    ["connections of a master", ...both((mode) => grouped(2 * processes(mode))), "arithmetic: two of each process"],
    [
      "network to Redis, all masters together",
      ...both((mode) => gigabit(on(mode).toRedis)),
      "arithmetic, from measured bytes",
    ],
    ["network from Redis", ...both((mode) => gigabit(on(mode).fromRedis)), "arithmetic, from measured bytes"],
    [
      `counters of ${grouped(activeUsers)} users, one limit`,
      ...both(() => gigabytes(activeUsers, counter)),
      `arithmetic, from ${grouped(largest("users"))} simulated counters`,
    ],
    [
      `records of ${grouped(revokedTokens)} revoked tokens`,
      ...both(() => gigabytes(revokedTokens, record)),
      `arithmetic, from ${grouped(largest("revoked"))} simulated records`,
    ],
    [
      "requests/s of a user at one process, from which on its quota is leased",
      ...["", fixed(1 / leaseLifeSeconds, 1)],
      "arithmetic, from the longest life of a lease",
    ],
  ];
  return table(["a million requests a second", "exact", "leased + tracked", "how it is known"], lines);
}

/** A quota is leased if it is needed again within this time: a twentieth of its window, at most 5 s. */
const leaseLifeSeconds = 5;
