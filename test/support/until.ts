// How does a test wait? For the thing itself, with a deadline that names it.

export async function until(holds: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  for (const limit = Date.now() + ms; !(await holds());) {
    if (Date.now() > limit) throw new Error(`waited ${ms} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
