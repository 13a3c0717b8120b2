// Opens every page of a folder in Chromium, as readers have it: light, dark, on a phone, printed,
// without scripts. Prints one line a page; the exit code is 1 if anything is wrong.
//
//   node check.mjs --chromium PATH --pages FOLDER --screenshots FOLDER
import { existsSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { moveEverything } from "./explorer.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const HEAVIEST = 3_000_000;          // bytes of a page, unless it is of several runs
const HEAVIEST_OF_SEVERAL = 6_000_000;
// The browser itself must ask for nothing either. Its profile is a fresh one each time.
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
// A report made again differs from the run's own in a few lines: one look is enough where both are.
const AGAIN = "-again.html";
const AT_ONCE = 2;                   // pages
const LOOKS = [
  { name: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { name: "phone", colorScheme: "light", viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true },
];

const { values: options } = parseArgs({
  options: { chromium: { type: "string" }, pages: { type: "string" }, screenshots: { type: "string" } },
});

// A page that says what goes wrong in it: messages, errors, dialogs, and anything that it loads.
async function watched(browser, look, file, problems) {
  const context = await browser.newContext({ reducedMotion: "no-preference", ...look });
  const page = await context.newPage();
  const own = pathToFileURL(file).href;
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  page.on("dialog", (dialog) => { problems.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    const url = request.url();
    if (url !== own && !url.startsWith("data:") && !url.startsWith(own + "#")) problems.push(`loads ${url}`);
  });
  const begun = performance.now();
  await page.goto(own, { waitUntil: "load" });
  return { context, page, opened: performance.now() - begun };
}

async function accessibility(page, problems) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const result = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return result.violations.map((v) => `${v.id}: ${v.help} (${v.nodes.length}×, ${v.nodes[0].target.join(" ")})`);
  });
  problems.push(...found.map((text) => `axe: ${text}`));
}

// Nothing is wider than the window but what scrolls by itself.
async function width(page, problems) {
  const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  if (wide > inner) problems.push(`the page is ${wide} pixels wide in a window of ${inner}`);
}

// Every link inside the page leads somewhere, every download holds something.
async function links(page, problems) {
  const broken = await page.evaluate(() => [...document.querySelectorAll("a[href]")].flatMap((link) => {
    const href = link.getAttribute("href");
    if (href.startsWith("#")) return document.getElementById(href.slice(1)) ? [] : [`${href} leads nowhere`];
    if (href.startsWith("data:")) return href.split(",")[1] ? [] : [`download ${link.download} is empty`];
    return href.startsWith("/") ? [] : [`${href} leads out of the page`];
  }));
  problems.push(...broken);
}

async function look(browser, file, kind, problems) {
  const { context, page, opened } = await watched(browser, kind, file, problems);
  await width(page, problems);
  await accessibility(page, problems);
  const name = file.split("/").pop().replace(/\.html$/, "");
  const shot = (suffix) => join(options.screenshots, `${name}-${suffix}.png`);
  await page.screenshot({ path: shot(kind.name), fullPage: true });
  if (kind.name === "light") {
    await links(page, problems);
    await page.emulateMedia({ media: "print" });
    await page.screenshot({ path: shot("print"), fullPage: true });
    await page.emulateMedia({ media: "screen" });
  }
  const explorers = await page.locator(".explorer").count();
  const moved = explorers ? await moveEverything(page, problems, shot(`${kind.name}-explorer`)) : null;
  await context.close();
  return { opened, moved };
}

// Without scripts the figures are there and the explorer says where to look.
async function withoutScripts(browser, file, problems) {
  const { context, page } = await watched(browser, { javaScriptEnabled: false, viewport: LOOKS[0].viewport }, file, problems);
  const html = readFileSync(file, "utf8");
  if (html.includes('class="explorer"')) {
    if (await page.locator(".explorer").isVisible()) problems.push("without scripts an empty explorer is shown");
    if (!(await page.getByText("The explorer needs a screen and scripts").first().isVisible())) {
      problems.push("without scripts nothing says why there is no explorer");
    }
  }
  const pictures = await page.locator(".picture").count();
  if (html.includes('class="picture"') && !pictures) problems.push("without scripts there are no figures");
  await context.close();
}

// What is in the text between `<` and `>` is text on the page too.
async function hostileText(browser, file, problems) {
  const html = readFileSync(file, "utf8");
  if (!html.includes("&lt;script&gt;")) return;
  const { context, page } = await watched(browser, LOOKS[0], file, problems);
  if (!(await page.locator("body").innerText()).includes("<script>")) problems.push("a prompt with <script> is not shown as text");
  await context.close();
}

function weight(file, problems) {
  const html = readFileSync(file);
  const most = file.includes("several") ? HEAVIEST_OF_SEVERAL : HEAVIEST;
  if (html.length > most) problems.push(`${html.length} bytes, more than ${most}`);
  return html.length;
}

// All that is looked at of a page; the lines to print, and whether an explorer was moved.
async function checked(browser, file) {
  const problems = [], told = [`${Math.round(weight(file, problems) / 1024)} kB`];
  let explored = false;
  const isAgain = file.endsWith(AGAIN) && existsSync(file.replace(AGAIN, ".html"));
  for (const kind of isAgain ? LOOKS.slice(0, 1) : LOOKS) {
    const { opened, moved } = await look(browser, file, kind, problems);
    if (kind.name === "light") told.push(`opens in ${Math.round(opened)} ms`);
    if (!moved) continue;
    explored = true;
    if (kind.name === "light") told.push(`${moved.controls} controls`, `reacts in ${Math.round(moved.reaction)} ms`);
  }
  await withoutScripts(browser, file, problems);
  await hostileText(browser, file, problems);
  const found = [...new Set(problems)].map((problem) => `      ${problem}`);
  const verdict = found.length ? "WRONG" : "ok   ";
  console.log([`${verdict} ${basename(file)}: ${told.join(", ")}`, ...found].join("\n"));
  return { wrong: found.length, explored };
}

async function main() {
  mkdirSync(options.screenshots, { recursive: true });
  const pages = readdirSync(options.pages).filter((name) => name.endsWith(".html")).sort();
  if (!pages.length) throw new Error(`no pages in ${options.pages}`);
  const browser = await chromium.launch({ executablePath: options.chromium, args: ARGUMENTS });
  const waiting = pages.map((name) => resolve(options.pages, name)), results = [];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (waiting.length) results.push(await checked(browser, waiting.shift()));
  }));
  await browser.close();
  if (!results.some(({ explored }) => explored)) throw new Error("no page had an explorer: its controls were not tried");
  console.log(`${pages.length} pages; screenshots: ${options.screenshots}`);
  process.exitCode = results.some(({ wrong }) => wrong) ? 1 : 0;
}

await main();
