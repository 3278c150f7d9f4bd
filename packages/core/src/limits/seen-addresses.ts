/** What is wrong with the addresses of clients, as far as requests have shown it. */
export interface SeenAddresses {
  /** Has a request come through an application that trusts every proxy? */
  trustsEveryProxy(): boolean;
  /** Was a limit's list `allow` not applied, since the address may be that of a proxy? */
  distrustsProxy(): boolean;
  /** Has a request come without an address that can be read? */
  lacksAddresses(): boolean;
}
