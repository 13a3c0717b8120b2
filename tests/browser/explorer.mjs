// Moves every control of a page's first explorer and looks whether the picture changes.

const REACTION = 200;                // milliseconds that a reader does not notice
const PATIENCE = 40;                 // looks, 50 ms apart, until a change is missed
const TRIES = 5;                     // of which the median counts

// A digest of all that the explorer draws and says.
const seen = (explorer) => explorer.evaluate((root) => {
  let digest = 0;
  const add = (text) => { for (let i = 0; i < text.length; i++) digest = (Math.imul(digest, 31) + text.charCodeAt(i)) | 0; };
  for (const canvas of root.querySelectorAll("canvas")) add(canvas.toDataURL());
  for (const text of root.querySelectorAll(".name, .ends, .readout, .matrix, .trace-title, .sides")) add(text.textContent);
  return digest;
});

// From one change of the step to the picture that shows it, in the page's own time.
const reaction = (explorer) => explorer.evaluate((root) => new Promise((done) => {
  const slider = root.querySelector('[data-role="step"]');
  slider.value = Number(slider.value) > 0 ? Number(slider.value) - 1 : Number(slider.max);
  const begun = performance.now();
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
}));

export async function moveEverything(page, problems, screenshot) {
  const explorer = page.locator(".explorer").first();
  await explorer.scrollIntoViewIfNeeded();
  const part = (role) => explorer.locator(`[data-role="${role}"]`);
  let controls = 0;
  const changes = async (what, act) => {
    const before = await seen(explorer);
    await act();
    controls++;
    // A busy machine draws late; how late is measured below.
    for (let i = 0; i < PATIENCE; i++) {
      if ((await seen(explorer)) !== before) return;
      await page.waitForTimeout(50);
    }
    problems.push(`explorer: ${what} changes nothing`);
  };
  const choose = async (role) => {
    const select = part(role);
    if (!(await select.isVisible())) return;
    for (const value of (await select.locator("option").evaluateAll((all) => all.map((o) => o.value))).slice(1, 3)) {
      await changes(`${role} ${value}`, () => select.selectOption(value));
    }
  };

  const words = explorer.locator('[data-role="words"] button');
  if ((await words.count()) > 1) await changes("another word", () => words.last().click());
  await choose("site");
  await part("site").selectOption({ index: 0 });
  await choose("head");
  if (await part("head").isVisible()) await part("head").selectOption({ index: 0 });
  await changes("all steps off", async () => { if (await part("all").isVisible()) await part("all").uncheck(); });
  await changes("the step", () => part("step").fill("0"));
  await changes("the scale", () => part("scale").selectOption("steps"));
  await part("scale").selectOption("map");
  await changes("the opacity", () => part("opacity").fill("30"));
  await part("opacity").fill("80");
  if (await part("outlines").isVisible()) await changes("the outlines", () => part("outlines").uncheck());
  const view = explorer.locator("canvas.view").first();
  await changes("pointing", () => view.hover({ position: { x: 40, y: 40 } }));
  await view.focus();
  for (const key of ["ArrowRight", "ArrowDown", ".", ","]) await changes(`the key ${key}`, () => page.keyboard.press(key));
  await changes("Escape", () => page.keyboard.press("Escape"));
  const step = () => part("step").inputValue();
  // Few steps come round to the first again: any of the looks may see another.
  await part("play").click();
  const first = await step();
  const moved = async () => {
    for (let i = 0; i < PATIENCE; i++) {
      if ((await step()) !== first) return true;
      await page.waitForTimeout(50);
    }
    return false;
  };
  if (!(await moved())) problems.push("explorer: Play does not move the step");
  await part("play").click();
  controls++;
  const frames = explorer.locator(".frame");
  if (await frames.count()) {
    await frames.first().click();
    await changes("a frame of the film", () => frames.last().click());
    if ((await frames.last().getAttribute("aria-pressed")) !== "true") problems.push("explorer: the frame is not marked");
  }
  await beside(explorer, part, changes, problems);
  await choose("image");

  const times = [];
  for (let i = 0; i < TRIES; i++) times.push(await reaction(explorer));
  const median = times.sort((a, b) => a - b)[Math.floor(TRIES / 2)];
  if (median > REACTION) problems.push(`explorer: reacts in ${Math.round(median)} ms, over ${REACTION}`);
  await explorer.screenshot({ path: screenshot });
  return { controls, reaction: median };
}

// Two images side by side share the cursor: pointing at one shows the value of the other.
async function beside(explorer, part, changes, problems) {
  const other = part("other");
  if (!(await other.isVisible())) return;
  await changes("another image beside it", () => other.selectOption({ index: 1 }));
  const views = explorer.locator("canvas.view");
  await changes("pointing at one of two", () => views.first().hover({ position: { x: 30, y: 30 } }));
  const values = await explorer.locator(".panel .at").allTextContents();
  if (values.length < 2 || values.slice(0, 2).some((text) => !text)) {
    problems.push(`explorer: the cursor is not linked (${values.slice(0, 2).join(" | ")})`);
  }
  await other.selectOption({ index: 0 });
}
