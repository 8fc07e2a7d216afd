// Values as people read them.

const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
export const whole = new Intl.NumberFormat("en");

export function scaled(value, unit) {
  const steps = ["", "k", "M", "G", "T"];
  let step = 0;
  while (Math.abs(value) >= 999.5 && step < steps.length - 1) {
    value /= 1000;
    step += 1;
  }
  const behind = steps[step] + unit;
  return digits.format(value) + (behind === "" || behind === "/s" ? "" : " ") + behind;
}

export const bits = (bytes) => scaled(bytes * 8, "b/s");
export const micros = (value) => (value == null ? "" : value >= 1000 ? `${digits.format(value / 1000)} ms` : `${value} µs`);
