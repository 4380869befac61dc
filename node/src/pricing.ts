/** What an execution costs: exact decimals from the declaration to the `end` event. */

/** A price as a skill declares it: each part in USD, from 0 to 1e9, and none when it is left out. */
export interface Prices {
  /** Once per execution. */
  readonly baseUsd?: number | string;
  /** Per output token. */
  readonly perTokenUsd?: number | string;
  /** Per second that the execution takes. */
  readonly perSecondUsd?: number | string;
}

const NAMES = ['baseUsd', 'perTokenUsd', 'perSecondUsd'] as const;

/** How many digits of a cost follow the point: 1e-9 USD. */
export const PLACES = 9;

/** What no price, and no limit of a cost, is over: 1e9 USD. */
export const HIGHEST = 1_000_000_000;

/** What a price must be, in words. */
export const PRICE = `a number of USD from 0 to ${HIGHEST}`;

/** Past it a number is a mistake, and its digits would fill the memory. */
const MAX_EXPONENT = 400;

const NUMBER = /^([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,4}))?$/;

/** A decimal number >= 0, exact: an integer over a power of ten. */
export class Decimal {
  readonly #units: bigint;
  readonly #places: number;

  /**
   * @param units - The digits.
   * @param places - How many of them follow the point.
   */
  constructor(units: bigint, places = 0) {
    this.#units = units;
    this.#places = places;
  }

  /**
   * Take 0.002 to mean 0.002: through its shortest decimal form, not its binary value.
   *
   * @returns `null` when the value is no finite number >= 0.
   */
  static parse(value: unknown): Decimal | null {
    if (typeof value !== 'number' && typeof value !== 'string') {
      return null;
    }
    const [, whole, fraction = '', exponent = '0'] = NUMBER.exec(String(value)) ?? [];
    if (whole === undefined || Math.abs(Number(exponent)) > MAX_EXPONENT) {
      return null;
    }
    const places = fraction.length - Number(exponent);
    const units = BigInt(whole + fraction);
    return places < 0 ? new Decimal(units * 10n ** BigInt(-places)) : new Decimal(units, places);
  }

  plus(other: Decimal): Decimal {
    const places = Math.max(this.#places, other.#places);
    return new Decimal(this.#unitsAt(places) + other.#unitsAt(places), places);
  }

  times(integer: number): Decimal {
    return new Decimal(this.#units * BigInt(integer), this.#places);
  }

  /** Less than 0, 0 or more than 0, as this is less than another one, the same, or more. */
  compare(other: Decimal): number {
    const places = Math.max(this.#places, other.#places);
    const [one, two] = [this.#unitsAt(places), other.#unitsAt(places)];
    return one < two ? -1 : Number(one > two);
  }

  /** What is left of this without another one; 0 when that is more. */
  less(other: Decimal): Decimal {
    const places = Math.max(this.#places, other.#places);
    const left = this.#unitsAt(places) - other.#unitsAt(places);
    return new Decimal(left > 0n ? left : 0n, places);
  }

  /** How often another one, more than 0, goes into this, in whole. */
  wholeTimes(other: Decimal): bigint {
    const places = Math.max(this.#places, other.#places);
    return this.#unitsAt(places) / other.#unitsAt(places);
  }

  /** Divide by a thousand: milliseconds are billed by the second. */
  overThousand(): Decimal {
    return new Decimal(this.#units, this.#places + 3);
  }

  /**
   * Round half to even.
   *
   * @param places - How many digits may follow the point.
   */
  rounded(places: number): Decimal {
    if (this.#places <= places) {
      return this;
    }
    const divisor = 10n ** BigInt(this.#places - places);
    const quotient = this.#units / divisor;
    const twice = 2n * (this.#units % divisor);
    const up = twice > divisor || (twice === divisor && quotient % 2n === 1n);
    return new Decimal(up ? quotient + 1n : quotient, places);
  }

  /**
   * Leave off what follows.
   *
   * @param places - How many digits may follow the point.
   */
  cutTo(places: number): Decimal {
    const over = this.#places - places;
    return over <= 0 ? this : new Decimal(this.#units / 10n ** BigInt(over), places);
  }

  /** Write it as JSON has numbers, without an exponent and without zeros at the end. */
  toString(): string {
    const digits = this.#units.toString().padStart(this.#places + 1, '0');
    const whole = digits.slice(0, digits.length - this.#places);
    const fraction = digits.slice(digits.length - this.#places).replace(/0+$/, '');
    return fraction === '' ? whole : `${whole}.${fraction}`;
  }

  #unitsAt(places: number): bigint {
    return this.#units * 10n ** BigInt(places - this.#places);
  }
}

/** 0 USD. */
export const NOTHING = new Decimal(0n);

/** A skill's price. */
export class Pricing {
  readonly baseUsd: Decimal;
  readonly perTokenUsd: Decimal;
  readonly perSecondUsd: Decimal;

  /**
   * Read a price as the guide writes it: `{ baseUsd: 0.001, perTokenUsd: 0.00002 }`.
   *
   * @throws TypeError - An unknown key, or a price that is no number from 0 to 1e9.
   */
  constructor(prices: Prices) {
    const unknown = Object.keys(prices).find((key) => !NAMES.some((name) => name === key));
    if (unknown !== undefined) {
      throw new TypeError(`pricing has no '${unknown}'; it takes ${NAMES.join(', ')}`);
    }
    this.baseUsd = usd('baseUsd', prices.baseUsd);
    this.perTokenUsd = usd('perTokenUsd', prices.perTokenUsd);
    this.perSecondUsd = usd('perSecondUsd', prices.perSecondUsd);
  }

  /**
   * Compute the cost, rounded half to even at 1e-9 USD.
   *
   * @param tokens - Output tokens.
   * @param milliseconds - The execution's billed time.
   * @param most - What it may cost at most, in USD.
   */
  cost(tokens: number, milliseconds: number, most?: Decimal): Decimal {
    const cost = this.#without(tokens)
      .plus(this.perSecondUsd.times(milliseconds).overThousand())
      .rounded(PLACES);
    return most !== undefined && cost.compare(most) > 0 ? most : cost;
  }

  /**
   * Compute for how long so many tokens cost no more than so much.
   *
   * @param tokens - Output tokens.
   * @param most - In USD.
   * @returns In ms; `Infinity` when time costs nothing.
   */
  lasts(tokens: number, most: Decimal): number {
    const perMillisecond = this.perSecondUsd.overThousand();
    if (perMillisecond.compare(NOTHING) === 0) {
      return Infinity;
    }
    return Number(most.less(this.#without(tokens)).wholeTimes(perMillisecond));
  }

  #without(tokens: number): Decimal {
    return this.baseUsd.plus(this.perTokenUsd.times(tokens));
  }
}

function usd(name: string, value: number | string | undefined): Decimal {
  if (value === undefined) {
    return NOTHING;
  }
  const price = readPrice(value);
  if (price === null) {
    throw new TypeError(`${name} must be ${PRICE}, not ${String(value)}`);
  }
  return price;
}

/**
 * Read one price, exact.
 *
 * @returns `null` when the value is no price.
 */
export function readPrice(value: unknown): Decimal | null {
  const price = Decimal.parse(value);
  return price !== null && price.compare(new Decimal(BigInt(HIGHEST))) <= 0 ? price : null;
}

/**
 * Estimate output tokens when a handler does not report them: one per 4 characters, up.
 *
 * @param characters - How many code points the output has.
 */
export function estimateTokens(characters: number): number {
  return Math.ceil(characters / 4);
}
