export { findRedisServer } from "./binary.js";
export type { RedisBinary } from "./candidate.js";
export { startCluster } from "./cluster.js";
export type { RedisCluster, RedisClusterOptions } from "./cluster.js";
export { findFreePort } from "./ports.js";
export { startRedis } from "./server.js";
export type { RedisServer, RedisServerOptions } from "./server.js";
export { startSentinel } from "./sentinel.js";
export type { RedisSentinel, RedisSentinelOptions } from "./sentinel.js";
