import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { promisify } from "node:util";

import { ConfigurationError, KeyUnavailable } from "../errors.js";
import { clean, type KeySource } from "../sources.js";

const MAX_FILE = 64 * 1024;
const run = promisify(execFile);

/** An environment variable. */
export function envKey(name = "ANTHROPIC_API_KEY", environment: Record<string, string | undefined> = process.env): KeySource {
  return { fetch: async () => clean(environment[name] ?? "", `the variable ${name}`) };
}

/** A file with nothing but the key, readable by its owner only (0600 or less). */
export function fileKey(path: string): KeySource {
  return { fetch: async () => clean((await readPrivate(path)).replace(/\r?\n$/, ""), path) };
}

/** A command that prints the key: by default `claviger token`, which gives a short-lived one. No shell runs it. */
export function commandKey(command: readonly string[] = ["claviger", "token"], timeoutMs = 30_000): KeySource {
  const [program, ...args] = command;
  if (program === undefined) throw new ConfigurationError("the command is a list of words");
  return {
    async fetch() {
      const running = run(program, args, { timeout: timeoutMs, maxBuffer: MAX_FILE, encoding: "utf8" });
      running.child.stdin?.end();
      const { stdout } = await running.catch((error: { code?: unknown; killed?: boolean }) => {
        const how = error.killed === true ? `did not answer within ${timeoutMs} ms` : `failed with ${String(error.code)}`;
        throw new KeyUnavailable(`\`${program}\` ${how}`);
      });
      return clean(stdout.trim(), `the output of \`${program}\``);
    },
  };
}

/** A small file that nobody else may read or write; checked on the open file, so that it cannot be exchanged meanwhile. */
export async function readPrivate(path: string): Promise<string> {
  // Without O_NONBLOCK the opening of a pipe would wait for its writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: { code?: unknown }) => {
    throw new KeyUnavailable(`${path}: ${String(error.code)}`);
  });
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new KeyUnavailable(`${path} is not a file`);
    const uid = process.getuid?.();
    if (uid !== undefined && (found.mode & 0o077) !== 0) {
      throw new KeyUnavailable(`${path} can be read by others: chmod 600 ${path}`);
    }
    if (uid !== undefined && found.uid !== uid && found.uid !== 0) throw new KeyUnavailable(`${path} belongs to another user`);
    if (found.size > MAX_FILE) throw new KeyUnavailable(`${path} is too long to hold a key`);
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}
