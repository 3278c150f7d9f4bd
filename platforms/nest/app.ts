import { Controller, Get, Module, Post, Req, UseGuards } from "@nestjs/common";
import { APP_FILTER, APP_GUARD } from "@nestjs/core";
import type { Request } from "express";
import { gate } from "./gate";
import { DenialFilter, guardOf } from "./guard";

@Controller("orders")
export class OrdersController {
  @Get()
  list(@Req() req: Request): { subject: string | undefined } {
    return { subject: req.auth?.subject };
  }

  @Post()
  @UseGuards(guardOf(gate.requireScopes("orders:write")))
  create(): { created: true } {
    return { created: true };
  }

  @Post("logout")
  async logout(@Req() req: Request): Promise<void> {
    await gate.sessions.revoke(req.auth);
  }
}

@Module({
  controllers: [OrdersController],
  providers: [
    { provide: APP_GUARD, useValue: guardOf(gate.guard({ onDeny: "throw" })) },
    { provide: APP_FILTER, useClass: DenialFilter },
  ],
})
export class AppModule {}
