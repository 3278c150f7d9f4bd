import type { Page } from "playwright-core";

export interface Contrast {
  readonly what: string;
  readonly ratio: number;
}

type Colour = readonly [red: number, green: number, blue: number];

/**
 * The contrasts (WCAG 2.2, 1.4.11) of the elements' borders, and of the mark of the focus where an element can have it, with
 * the nearest background around the element.
 */
export async function contrasts(page: Page, selectors: readonly string[]): Promise<Contrast[]> {
  const found: Contrast[] = [];
  for (const selector of selectors) {
    await page.locator(selector).first().focus();
    // The mark is shown to those who use the keyboard.
    await page.keyboard.press("Shift");
    const { border, outline, around } = await readFrom(page, selector);
    if (border !== null) found.push({ what: `the border of ${selector}`, ratio: ratioOf(border, around) });
    if (outline !== null) found.push({ what: `the focus of ${selector}`, ratio: ratioOf(outline, around) });
  }
  return found;
}

interface Colours {
  readonly border: string | null;
  readonly outline: string | null;
  readonly around: string;
}

/** Runs in the page. Text, since compilers call helpers of their own in functions. */
const readColours = `(element) => {
  const isClear = (colour) => colour === "transparent" || / 0\\)$/.test(colour);
  const style = getComputedStyle(element);
  let around = element.parentElement;
  while (around !== null && isClear(getComputedStyle(around).backgroundColor)) around = around.parentElement;
  return {
    border: isClear(style.borderTopColor) ? null : style.borderTopColor,
    outline: style.outlineStyle === "none" ? null : style.outlineColor,
    around: around === null ? "rgb(255, 255, 255)" : getComputedStyle(around).backgroundColor,
  };
}`;

async function readFrom(page: Page, selector: string): Promise<Colours> {
  return await page.evaluate(`(${readColours})(document.querySelector(${JSON.stringify(selector)}))`);
}

function ratioOf(one: string, other: string): number {
  const [light = 0, dark = 0] = [one, other].map((text) => luminanceOf(parse(text))).sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function parse(text: string): Colour {
  const [red = NaN, green = NaN, blue = NaN] = (/^rgba?\(([^)]*)\)$/.exec(text)?.[1] ?? "")
    .split(/[,\s/]+/)
    .map(Number);
  return [red, green, blue];
}

function luminanceOf(colour: Colour): number {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
