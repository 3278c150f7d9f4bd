// Jest does not use Node's own require(): it makes CommonJS of the packages that are ESM.
module.exports = {
  testEnvironment: "node",
  transform: { "\\.js$": ["babel-jest", { plugins: ["@babel/plugin-transform-modules-commonjs"] }] },
  transformIgnorePatterns: ["/node_modules/(?!(\\.pnpm|@portcullis|jose|devalue)/)"],
};
