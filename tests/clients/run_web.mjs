// Opens the search page in headless Chromium; prints what it embeds and finds as JSON, and takes a screenshot.
// node run_web.mjs FOLDER_WITH_NODE_MODULES CHROMIUM JOB
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { chromium } = createRequire(process.argv[2] + "/")("playwright-core");
const { url, texts, query, screenshot } = JSON.parse(readFileSync(process.argv[4], "utf8"));
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const profile = mkdtempSync(join(tmpdir(), "kogata-web-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.argv[3],
  headless: true,
  args: flags,
});
try {
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("requestfailed", (request) => problems.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on("request", (request) => request.url().startsWith(url) || problems.push(`outside: ${request.url()}`));
  await page.goto(url);
  await page.waitForFunction(() => window.embed, undefined, { timeout: 120_000 }).catch((error) => {
    throw new Error([error, ...problems].join("\n"));
  });
  await page.fill("#query", query);
  await page.waitForTimeout(1000); // the search that it starts
  const embeddings = await page.evaluate((them) => window.embed(them), texts);
  // The same model with its weights in a second file, which transformers.js is told of.
  const large = await page.evaluate(async (them) => {
    const { pipeline } = await import("@huggingface/transformers");
    const session_options = { externalData: [{ path: "model.onnx.data", data: "onnx/model.onnx.data" }] };
    const extract = await pipeline("feature-extraction", "model/large", { dtype: "fp32", session_options });
    return (await extract(them, { pooling: "mean", normalize: true })).tolist();
  }, texts);
  const found = await page.locator("#found li").allInnerTexts();
  await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ embeddings, large, found, problems }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
