// What does it need that users log in here, and how is it put together? Loaded where `identity.local.enabled` is set, and nowhere else.

import type { Clock } from 'policy-cache';
import type { Addition, AdditionParts } from '../admin/addition.ts';
import { actingRoutes } from './acting.ts';
import { activateRoutes } from './activate.ts';
import { activationRoutes } from './activation.ts';
import { forgottenRoutes } from './forgotten.ts';
import { newLink } from './links.ts';
import { loginRoutes } from './login.ts';
import { logoutRoutes } from './logout.ts';
import type { Mailer } from './mailer.ts';
import { pageRoutes } from './page.ts';
import type { LocalParts, Times } from './parts.ts';
import { passwordRoutes } from './password.ts';
import { createPasswords } from './passwords.ts';
import { createRate, networkOf } from './rate.ts';
import { refreshRoutes } from './refresh.ts';
import { sessionRoutes } from './sessions.ts';

export interface LocalSettings {
  /** Milliseconds, as in `identity.local`. */
  readonly tokenTtl: number;
  readonly sessionIdle: number;
  readonly sessionMax: number;
  readonly refreshLeeway: number;
  readonly linkTtl: number;
  readonly lockFor: number;
  readonly lockAfter: number;
  readonly linkUrl?: string | undefined;
  readonly passwordLength: number;
  readonly rate: number;
  readonly addressHeader?: string | undefined;
  readonly clock: Clock;
  readonly mailer?: Mailer | undefined;
  readonly failed: (error: unknown) => void;
  /** Told of each hash that is computed. */
  readonly computed?: (() => void) | undefined;
}

function timesOf({ tokenTtl, sessionIdle, sessionMax }: Pick<LocalSettings, 'tokenTtl' | 'sessionIdle' | 'sessionMax'>): Times {
  const idle = Math.min(sessionIdle, sessionMax);
  return { token: Math.min(tokenTtl, idle) / 1_000, idle: idle / 1_000, most: sessionMax / 1_000 };
}

export function createLocal(settings: LocalSettings): (parts: AdditionParts) => Addition {
  const { tokenTtl, sessionIdle, sessionMax, refreshLeeway, lockFor, lockAfter, passwordLength, rate, addressHeader, clock, mailer, failed, computed } =
    settings;
  return (given) => {
    const parts: LocalParts = {
      ...given,
      passwords: createPasswords({ clock, computed }),
      times: timesOf({ tokenTtl, sessionIdle, sessionMax }),
      lock: { lockAfter, lockFor: lockFor / 1_000 },
      leeway: refreshLeeway / 1_000,
      least: passwordLength,
      networkOf: (c) => networkOf(c, addressHeader),
      newLink: () => newLink(settings),
      mailer,
      failed,
    };
    return {
      admit: createRate({ clock, perMinute: rate, header: addressHeader }),
      open(routes) {
        for (const add of [loginRoutes, refreshRoutes, activateRoutes, forgottenRoutes, pageRoutes]) add(routes, parts);
      },
      known(routes) {
        for (const add of [logoutRoutes, passwordRoutes, activationRoutes, sessionRoutes, actingRoutes]) add(routes, parts);
      },
      newLink: parts.newLink,
    };
  };
}
