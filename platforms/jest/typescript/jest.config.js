module.exports = {
  testEnvironment: "node",
  transform: { "\\.[jt]s$": ["ts-jest", { tsconfig: "<rootDir>/tsconfig.json" }] },
  transformIgnorePatterns: ["/node_modules/(?!(\\.pnpm|@portcullis|jose|devalue)/)"],
};
