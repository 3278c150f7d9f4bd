// What a Socket.IO application's types know about a gate.
import { createServer } from "node:http";
import { portcullis } from "@portcullis/express";
import type { Auth } from "@portcullis/express";
import { secure } from "@portcullis/socket.io";
import type { SecuredServer, SecureOptions, SocketData } from "@portcullis/socket.io";
import { Server } from "socket.io";
import { exactly } from "../exactly.js";

interface FromClients {
  note: (text: string, acknowledge: (reply: string) => void) => void;
}
interface FromServer {
  note: (text: string) => void;
}
interface BetweenServers {
  ping: () => void;
}

const gate = portcullis({ redis: "memory", auth: { issuer: "https://id.example.com", audience: "orders" } });
const io = new Server<FromClients, FromServer, BetweenServers, SocketData>(createServer());
const options: SecureOptions = {
  limits: [
    { limit: "named", events: ["note"], cost: (event, args) => event.length + args.length },
    { limit: { name: "own", per: (socket) => socket.id, limit: 20, window: "10s" }, events: undefined },
  ],
  handshakes: { name: "hands", per: (request) => String(request.url), limit: 5, window: "1m" },
  address: ({ headers }) => headers["x-real-ip"]?.toString(),
};
const secured = exactly<SecuredServer>()(secure(io, gate, options));
exactly<Promise<void>>()(secured.drain());
io.on("connection", (socket) => {
  exactly<Auth>()(socket.data.auth);
  socket.on("note", (text, acknowledge) => acknowledge(text));
});
