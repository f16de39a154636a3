// Package lycoris has the methods of LyCORIS that HF PEFT has too: LoHa and LoKr. Importing it registers them.
package lycoris
