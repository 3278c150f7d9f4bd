type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles only if the value has exactly this type: `exactly<string | undefined>()(value)`. */
export function exactly<Expected>() {
  return <Actual>(value: Actual, ..._wrong: Same<Actual, Expected> extends true ? [] : [never]): Actual => value;
}
