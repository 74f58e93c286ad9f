#pragma once
// Exponential, logarithm and normal quantile from the operations that IEEE 754 rounds alike
// everywhere (+ - * / and comparisons), so that what is computed with them has the same bits on
// every machine. The mathematical library's own differ in the last bit between systems. The folder
// is built with -ffp-contract=off for the same reason.

namespace ballast {

/// e^x to a few units in the last place; 0 below -708, e^709 above 709.
double portable_exp(double x);

/// Natural logarithm to a few units in the last place. x must be a positive normal number.
double portable_log(double x);

/// z with P(standard normal < z) = p, to 16 digits. p must be in (0, 1). Wichura, algorithm AS 241
/// (PPND16), 1988; its square root is the IEEE one.
double normal_quantile(double p);

}  // namespace ballast
