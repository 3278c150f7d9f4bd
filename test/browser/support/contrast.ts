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
    const locator = page.locator(selector).first();
    await locator.focus();
    // The mark is shown to those who use the keyboard.
    await page.keyboard.press("Shift");
    const { border, outline, around } = await locator.evaluate(readColours);
    if (border !== undefined) found.push({ what: `the border of ${selector}`, ratio: ratioOf(border, around) });
    if (outline !== undefined) found.push({ what: `the focus of ${selector}`, ratio: ratioOf(outline, around) });
  }
  return found;
}

interface Colours {
  readonly border: string | undefined;
  readonly outline: string | undefined;
  readonly around: string;
}

/** Runs in the page. */
function readColours(element: unknown): Colours {
  interface Shown {
    readonly parentElement: Shown | null;
  }
  const { getComputedStyle } = globalThis as unknown as {
    getComputedStyle(of: Shown): Readonly<Record<string, string>>;
  };
  const isClear = (colour = ""): boolean => colour === "transparent" || /, 0\)$/.test(colour);
  const style = getComputedStyle(element as Shown);
  let around = (element as Shown).parentElement;
  while (around !== null && isClear(getComputedStyle(around).backgroundColor)) around = around.parentElement;
  return {
    border: isClear(style.borderTopColor) ? undefined : style.borderTopColor,
    outline: style.outlineStyle === "none" ? undefined : style.outlineColor,
    around: around === null ? "rgb(255, 255, 255)" : (getComputedStyle(around).backgroundColor ?? ""),
  };
}

function ratioOf(one: string, other: string): number {
  const [light = 0, dark = 0] = [one, other].map((text) => luminanceOf(parse(text))).sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function parse(text: string): Colour {
  const [red = NaN, green = NaN, blue = NaN] = (/^rgba?\(([^)]*)\)$/.exec(text)?.[1] ?? "").split(/[,\s/]+/).map(Number);
  return [red, green, blue];
}

function luminanceOf(colour: Colour): number {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
