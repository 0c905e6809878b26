#include "options/completion.hpp"

#include <algorithm>
#include <cctype>

#include "options/manual.hpp"

namespace mailbridge::options {
namespace {

enum class Kind { none, file, directory, words, other };

Kind kind_of(const OptionText& option) {
  if (option.takes == OptionText::nothing) return Kind::none;
  if (option.type.find("FILE") != std::string_view::npos) return Kind::file;
  if (option.type == "DIRECTORY") return Kind::directory;
  const bool plain = std::all_of(option.type.begin(), option.type.end(),
                                 [](char c) { return std::islower(static_cast<unsigned char>(c)) != 0 || c == '|' || c == '-'; });
  return plain && option.type.find('|') != std::string_view::npos ? Kind::words : Kind::other;
}

std::string words_of(std::string_view type) {
  std::string words(type);
  std::replace(words.begin(), words.end(), '|', ' ');
  return words;
}

// "--lmtp"; for an option with a letter "--lmtp", `separator` and "-l".
std::string spellings(const OptionText& option, std::string_view separator) {
  std::string text = "--" + std::string(option.name);
  if (option.letter != 0) text.append(separator).append("-").append(1, option.letter);
  return text;
}

std::string function_of(std::string_view program) {
  std::string name = "_" + std::string(program);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Escapes a description or message for zsh's _arguments, between single quotes.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') out += "'\\'";
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const OptionText& option) {
  switch (kind_of(option)) {
    case Kind::none:
      return "";
    case Kind::file:
      return "_files";
    case Kind::directory:
      return "_files -/";
    case Kind::words:
      return "(" + words_of(option.type) + ")";
    case Kind::other:
      return " ";
  }
  return "";
}

}  // namespace

std::string bash_completion(std::string_view program, const std::vector<OptionText>& options) {
  std::string cases, names;
  for (const OptionText& option : options) {
    names.append(names.empty() ? "" : " ").append(spellings(option, " "));
    std::string action;
    switch (kind_of(option)) {
      case Kind::none:
        continue;
      case Kind::file:
        action = "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$word\")";
        break;
      case Kind::directory:
        action = "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$word\")";
        break;
      case Kind::words:
        action = "mapfile -t COMPREPLY < <(compgen -W '" + words_of(option.type) + "' -- \"$word\")";
        break;
      case Kind::other:
        if (option.takes == OptionText::optional_value) continue;
        action = ":";
        break;
    }
    cases += "    " + spellings(option, " | ") + ") " + action + "; return ;;\n";
  }
  const std::string function = function_of(program);
  std::string script = "# bash completion for " + std::string(program) + "(8)\n";
  script += function + "() {\n";
  script +=
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
      "  COMPREPLY=()\n"
      "  # bash takes --name=VALUE for three words.\n"
      "  if [[ $word == = ]]; then word=\n"
      "  elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD - 2]}\n"
      "  fi\n"
      "  case $before in\n" +
      cases +
      "  esac\n"
      "  [[ $word != -* ]] || mapfile -t COMPREPLY < <(compgen -W '" +
      names + "' -- \"$word\")\n}\n";
  return script + "complete -F " + function + " " + std::string(program) + "\n";
}

std::string zsh_completion(std::string_view program, const std::vector<OptionText>& options) {
  std::string script = "#compdef " + std::string(program) + "\n# zsh completion for " + std::string(program) + "(8)\n_arguments";
  for (const OptionText& option : options) {
    std::string rest = "[" + zsh_text(first_sentence(option.text)) + "]";
    if (option.takes != OptionText::nothing)
      rest +=
          std::string(option.takes == OptionText::optional_value ? "::" : ":") + zsh_text(option.type) + ":" + zsh_action(option);
    const char* again = option.takes == OptionText::values ? "*" : "";
    const char* equals = option.takes == OptionText::nothing ? "" : "=";
    script += std::string(" \\\n  '") + again + "--" + std::string(option.name) + equals + rest + "'";
    if (option.letter != 0)
      script += std::string(" \\\n  '") + again + "-" + option.letter + (*equals == '=' ? "+" : "") + rest + "'";
  }
  return script + "\n";
}

}  // namespace mailbridge::options
