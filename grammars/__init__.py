"""The grammar of the language, in lark's notation; `sbmlang.syntax` is its only reader."""
