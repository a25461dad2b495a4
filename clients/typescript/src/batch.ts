/** Many calls with a bound on how many run at once, and results in the order of the questions. */
import { ConfigurationError } from "./errors.js";

/** What became of one item. */
export type Outcome<Item, Result> = { index: number; item: Item; attempts: number } & (
  | { ok: true; value: Result }
  | { ok: false; error: unknown }
);

export interface BatchOptions<Item, Result> {
  /** Default: 10. */
  concurrency?: number;
  /** With more than 1 the failures are run again, each round with half the concurrency, never below 1. */
  rounds?: number;
  onOutcome?: (outcome: Outcome<Item, Result>) => void;
  /** Nothing is begun after it; what runs must listen to it itself. */
  signal?: AbortSignal;
}

/** Runs `call` for every item; a failed item is an outcome with its error, not the end of the run. */
export async function runBatch<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  call: (item: Item, index: number) => Promise<Result>,
  options: BatchOptions<Item, Result> = {},
): Promise<Outcome<Item, Result>[]> {
  const { rounds = 1 } = options;
  let { concurrency = 10 } = options;
  if (!(concurrency >= 1) || !(rounds >= 1)) throw new ConfigurationError("concurrency and rounds are at least 1");
  const done: Outcome<Item, Result>[] = [];
  let todo: AsyncIterator<[number, Item]> = numbered(items);
  for (let attempts = 1; attempts <= rounds; attempts += 1) {
    await round(todo, call, concurrency, attempts, done, options);
    const failed = done.filter((outcome) => !outcome.ok);
    if (failed.length === 0) break;
    concurrency = Math.max(1, Math.floor(concurrency / 2));
    todo = numbered(failed, ({ index, item }) => [index, item]);
  }
  return done;
}

async function round<Item, Result>(
  todo: AsyncIterator<[number, Item]>,
  call: (item: Item, index: number) => Promise<Result>,
  concurrency: number,
  attempts: number,
  done: Outcome<Item, Result>[],
  { onOutcome, signal }: BatchOptions<Item, Result>,
): Promise<void> {
  const work = async (): Promise<void> => {
    for (;;) {
      signal?.throwIfAborted();
      const next = await todo.next();
      if (next.done) return;
      const [index, item] = next.value;
      done[index] = await outcomeOf(index, item, attempts, call);
      onOutcome?.(done[index]);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
}

async function outcomeOf<Item, Result>(
  index: number,
  item: Item,
  attempts: number,
  call: (item: Item, index: number) => Promise<Result>,
): Promise<Outcome<Item, Result>> {
  try {
    return { index, item, attempts, ok: true, value: await call(item, index) };
  } catch (error) {
    return { index, item, attempts, ok: false, error };
  }
}

async function* numbered<From, Item>(
  items: Iterable<From> | AsyncIterable<From>,
  read: (item: From, index: number) => [number, Item] = (item, index) => [index, item as unknown as Item],
): AsyncGenerator<[number, Item]> {
  let index = 0;
  for await (const item of items) yield read(item, index++);
}
