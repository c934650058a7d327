// Runs transformers.js over the jobs in a JSON file; prints a JSON object for each job, one a line.
// node run_transformers.mjs FOLDER_WITH_NODE_MODULES JOBS
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.argv[2] + "/");
const js = require("@huggingface/transformers");
js.env.allowRemoteModels = false;

const KINDS = {
  async generate({ texts, steps, messages }, path, options) {
    const tokenizer = await js.AutoTokenizer.from_pretrained(path);
    const model = await js.AutoModelForCausalLM.from_pretrained(path, options);
    const answers = [];
    for (const text of texts) {
      const inputs = tokenizer(text, { return_token_type_ids: false });
      const made = await model.generate({ ...inputs, max_new_tokens: steps, do_sample: false });
      answers.push({ ids: inputs.input_ids.tolist()[0].map(Number), made: made.tolist()[0].map(Number) });
    }
    const prompt = messages && tokenizer.apply_chat_template(messages, { tokenize: false, add_generation_prompt: true });
    return { answers, prompt };
  },
  async chat({ texts, longest }, path, options) {
    const generate = await js.pipeline("text-generation", path, options);
    const answers = [];
    for (const text of texts) {
      const [made] = await generate([{ role: "user", content: text }], { max_length: longest, do_sample: false });
      answers.push(made.generated_text.at(-1).content);
    }
    return { answers };
  },
  async embed({ texts, pooling, normalize }, path, options) {
    const embed = await js.pipeline("feature-extraction", path, options);
    return { embeddings: (await embed(texts, { pooling, normalize })).tolist() };
  },
  async classify({ texts }, path, options) {
    const classify = await js.pipeline("text-classification", path, options);
    return { scores: await classify(texts, { top_k: null }) };
  },
};

for (const job of JSON.parse(readFileSync(process.argv[3], "utf8"))) {
  let result;
  try {
    const options = "subfolder" in job ? { dtype: job.dtype, subfolder: job.subfolder } : { dtype: job.dtype };
    result = await KINDS[job.kind](job, job.folder, options);
  } catch (error) {
    result = { error: String(error) };
  }
  console.log(JSON.stringify({ id: job.id, ...result }));
}
