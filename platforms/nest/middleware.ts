import { Controller, Get, Module, Req } from "@nestjs/common";
import type { MiddlewareConsumer, NestModule } from "@nestjs/common";
import type { Request } from "express";
import { gate } from "./gate";

@Controller("reports")
export class ReportsController {
  @Get()
  list(@Req() req: Request): { subject: string | undefined } {
    return { subject: req.auth?.subject };
  }
}

@Module({ controllers: [ReportsController] })
export class ReportsModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(gate.guard()).forRoutes(ReportsController);
  }
}
