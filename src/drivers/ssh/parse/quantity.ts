const decimal: Record<string, number> = { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
const binary: Record<string, number> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4, PiB: 1024 ** 5 };

/** Parses a size as docker shows it, `596.1 MB`, `532MB` or `23.54 GiB`, to bytes. Undefined for anything else. */
export function shownBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?(?:e\+\d{1,2})?)\s?([kKMGTP]?i?B)$/.exec(text.trim());
  const unit = match && (decimal[match[2] ?? ''] ?? binary[match[2] ?? '']);
  return unit ? Math.round(Number(match[1]) * unit) : undefined;
}
