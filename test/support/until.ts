// How does a test wait? For the thing itself, with a deadline that names it. It is there for what never comes: a machine that does other
// work may stand still for seconds.

export async function until(holds: () => boolean | Promise<boolean>, what: string, ms = 20_000): Promise<void> {
  for (const limit = Date.now() + ms; !(await holds());) {
    if (Date.now() > limit) throw new Error(`waited ${ms} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
