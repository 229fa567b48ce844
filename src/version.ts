// Which version is this? (CHANGELOG.md; a test holds it against package.json, which the built program does not read)
export const VERSION = '0.1.0';
