// `grantgate completion SHELL`: what a shell needs to complete commands and options. Made of the commands themselves, so nothing is left out.

import type { Command } from 'commander';
import { InputError } from 'policy-cache';
import type { Context, ExitCode } from './host.ts';

export function completionCommand({ host }: Context, { shell, program }: { readonly shell: string; readonly program: Command }): ExitCode {
  const words = wordsOf(program, '');
  switch (shell) {
    case 'bash':
      host.stdout.write(bash(words, fileOptions(program)));
      return 0;
    case 'zsh':
      host.stdout.write(
        `(( $+functions[compdef] )) || { autoload -U compinit && compinit }\nautoload -U +X bashcompinit && bashcompinit\n${bash(words, fileOptions(program))}`,
      );
      return 0;
    case 'fish':
      host.stdout.write(fish(words));
      return 0;
    default:
      throw new InputError('shell', `must be bash, zsh or fish, got ${JSON.stringify(shell)}`);
  }
}

/** By the words before the one that is completed (`user create`): what may come. */
type Words = ReadonlyMap<string, readonly string[]>;

function wordsOf(command: Command, at: string): Words {
  const arguments_ = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []);
  const own = [...arguments_, ...command.commands.map((each) => each.name()), ...command.options.flatMap(({ long }) => long ?? []), '--help'];
  const below = command.commands.flatMap((each) => [...wordsOf(each, at === '' ? each.name() : `${at} ${each.name()}`)]);
  return new Map([[at, own], ...below]);
}

/** Options that take the name of a file. */
function fileOptions(command: Command): readonly string[] {
  const own = command.options.flatMap(({ flags, short, long }) => (flags.includes('<file') ? [short, long] : []));
  return [...new Set([...own, ...command.commands.flatMap(fileOptions)])].filter((flag) => flag !== undefined);
}

function bash(words: Words, files: readonly string[]): string {
  const cases = [...words].map(([at, own]) => `    '${at}') words='${own.join(' ')}' ;;`);
  return `_grantgate() {
  local at='' word words=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) break ;; esac
    case " ${[...words.keys()].filter((at) => at !== '').join(' , ')} " in *" \${at:+$at }$word "*) at="\${at:+$at }$word" ;; *) break ;; esac
  done
  case "\${COMP_WORDS[COMP_CWORD - 1]}" in
    ${files.join('|')}) COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")); return ;;
  esac
  case "$at" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
  [ \${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _grantgate grantgate
`;
}

function fish(words: Words): string {
  const lines = [...words].flatMap(([at, own]) => {
    const [first, second] = at.split(' ');
    const seen = [first, second].filter((word) => word !== undefined && word !== '').map((word) => `__fish_seen_subcommand_from ${word}`);
    const when = seen.length === 0 ? '__fish_use_subcommand' : seen.join('; and ');
    return own.map((word) =>
      word.startsWith('--') ? `complete -c grantgate -n '${when}' -l ${word.slice(2)}` : `complete -c grantgate -n '${when}' -f -a ${word}`,
    );
  });
  return `${lines.join('\n')}\n`;
}
