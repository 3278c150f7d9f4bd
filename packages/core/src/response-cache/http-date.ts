const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const fixdate = /^[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/i;
const rfc850 = /^[A-Z][a-z]{5,8}, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/i;
const asctime = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/i;

/** An HTTP date in any of its three forms (RFC 9110 5.6.7) in Unix milliseconds; undefined for anything else. */
export function readDate(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const [, day, month, year, hour, minute, second] = fixdate.exec(text) ?? rfc850.exec(text) ?? [];
  if (day !== undefined) return assemble(fullYear(year ?? "", nowMs), month, day, hour, minute, second);
  const [, month3, day3, hour3, minute3, second3, year3] = asctime.exec(text) ?? [];
  return month3 === undefined ? undefined : assemble(Number(year3), month3, day3, hour3, minute3, second3);
}

/** A year of two digits that is more than 50 years in the future is in the last century (RFC 9110 5.6.7). */
function fullYear(year: string, nowMs: number): number {
  if (year.length === 4) return Number(year);
  const thisYear = new Date(nowMs).getUTCFullYear();
  const inThisCentury = thisYear - (thisYear % 100) + Number(year);
  return inThisCentury > thisYear + 50 ? inThisCentury - 100 : inThisCentury;
}

function assemble(year: number, month: string | undefined, ...rest: (string | undefined)[]): number | undefined {
  const monthIndex = months.findIndex((name) => name.toLowerCase() === month?.toLowerCase());
  const [day = 0, hour = 0, minute = 0, second = 0] = rest.map(Number);
  // Second 60 is a leap second.
  if (monthIndex === -1 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return undefined;
  return Date.UTC(year, monthIndex, day, hour, minute, second);
}
