import { Argument, Command } from 'commander';

/** `katafleet completion bash|zsh|fish`: a script generated from the commands themselves. */
export function completionCommand(root: Command): Command {
  return new Command('completion')
    .description('Prints a completion script: eval "$(katafleet completion bash)", or zsh; katafleet completion fish | source.')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .action((shell: 'bash' | 'zsh' | 'fish') => {
      process.stdout.write(scripts[shell](root));
    });
}

interface Words {
  /** The words before the cursor without the program's name: `images` for `katafleet images`. */
  path: string;
  words: string[];
}

function wordsOf(command: Command, path: string[] = []): Words[] {
  const options = command.options
    .flatMap((option) => [option.short, option.long])
    .filter((flag): flag is string => typeof flag === 'string');
  const here = { path: path.join(' '), words: [...command.commands.map((child) => child.name()), ...options, '--help'] };
  return [here, ...command.commands.flatMap((child) => wordsOf(child, [...path, child.name()]))];
}

/** Returns every word that is the name of a command or of a subcommand. */
const names = (root: Command): string[] =>
  [...new Set([...wordsOf(root).flatMap(({ path }) => path.split(' ')), 'help'])].filter((word) => word !== '');

const cases = (root: Command) =>
  wordsOf(root)
    .map(({ path, words }) => `    '${path}') words='${words.join(' ')}' ;;`)
    .join('\n');

const bash = (root: Command) => `_katafleet() {
  local at= word words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $word in -*) ;; ${names(root).join('|')}) at="\${at:+$at }$word" ;; esac
  done
  case $at in
${cases(root)}
  esac
  case \${COMP_WORDS[COMP_CWORD]} in
    -*) ;;
    *) [[ $at == run* ]] && words= && COMPREPLY=($(compgen -o default -- "\${COMP_WORDS[COMP_CWORD]}")) && return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _katafleet katafleet
`;

const scripts = {
  bash,
  zsh: (root: Command) => `autoload -U +X bashcompinit && bashcompinit\n${bash(root)}`,
  fish: (root: Command) =>
    wordsOf(root)
      .map(({ path, words }) => {
        const when =
          path === ''
            ? '__fish_use_subcommand'
            : path
                .split(' ')
                .map((word) => `__fish_seen_subcommand_from ${word}`)
                .join('; and ');
        return `complete -c katafleet -n '${when}' -a '${words.join(' ')}'\n`;
      })
      .join(''),
};
