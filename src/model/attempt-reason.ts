/** Reasons of lost attempts by which the journal counts the tries of a run. */

/** The reason of an attempt that does not count as a try begins with this. */
export const notCounted = 'no try: ';
/** The attempt was lost because katafleet died. */
export const diedInIt = 'katafleet ended in the middle of it';
/** The attempt was lost because katafleet was stopped and could not wait for it. */
export const stoppedInIt = 'katafleet was stopped in the middle of it';
