/** What can go wrong on this side. No message holds a secret. */
export class ClavigerError extends Error {
  /**
   * An SDK takes any rejection from below for a lost connection and tries again. So it is given an answer instead, with this
   * status and type, the error's text, and `x-should-retry: false`.
   */
  readonly status: number = 400;
  readonly type: string = "invalid_request_error";

  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** A setting is missing or cannot be; the text names it. */
export class ConfigurationError extends ClavigerError {}

/** The key could not be had from its source. There is no fallback to another source. */
export class KeyUnavailable extends ClavigerError {
  override readonly status = 401;
  override readonly type = "authentication_error";
}

/** The body cannot be signed; the text says why. */
export class NotSignable extends ClavigerError {
  override readonly status = 413;
  override readonly type = "request_too_large";
}

/** A request goes elsewhere than to the gateway, so it gets no credential. */
export class WrongOrigin extends ClavigerError {}

/** The token endpoint answered 200 with something that is no token. */
export class TokenError extends ClavigerError {}

/** The client's own limiter would make this call wait longer than allowed. */
export class LimitReached extends ClavigerError {
  override readonly status = 429;
  override readonly type = "rate_limit_error";
}
