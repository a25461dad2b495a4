// Counts tokens with a stand-in for the provider's tokenizer: reads a JSON list of texts, prints the list of their counts.

import { createRequire } from "node:module";
import { join } from "node:path";
import { readFileSync } from "node:fs";

const modules = createRequire(join(process.env.CLAVIGER_TEST_NODE_MODULES, "index.js"));
const { getTokenizer } = modules("@anthropic-ai/tokenizer");
const tokenizer = getTokenizer();
const texts = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(texts.map((text) => tokenizer.encode(text.normalize("NFKC"), "all").length)));
tokenizer.free();
