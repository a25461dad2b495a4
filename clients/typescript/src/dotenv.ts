import { ConfigurationError } from "./errors.js";

const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", $: "$" };

/** The variables that a `.env` file's text sets. Nothing is expanded or run. A line that sets nothing is an error with its number. */
export function parseDotenv(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [index, raw] of text.replace(/^\ufeff/, "").split("\n").entries()) {
    const line = raw.replace(/\r$/, "").trim();
    if (line === "" || line.startsWith("#")) continue;
    const match = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$/s.exec(line);
    const value = match ? valueOf(match[2] ?? "") : undefined;
    if (!match || value === undefined) throw new ConfigurationError(`line ${index + 1} of the .env file is not NAME=VALUE`);
    values[match[1] ?? ""] = value;
  }
  return values;
}

function valueOf(text: string): string | undefined {
  const start = text.trimStart();
  if (start.startsWith("'")) return /^'([^']*)'(?:\s+#.*|\s*)$/.exec(start)?.[1];
  if (start.startsWith('"')) {
    const inside = /^"((?:[^"\\]|\\.)*)"(?:\s+#.*|\s*)$/.exec(start)?.[1];
    return inside?.replace(/\\(.)/g, (whole, c: string) => ESCAPES[c] ?? whole);
  }
  return (text.split(/\s#/, 1)[0] ?? "").trim();
}
