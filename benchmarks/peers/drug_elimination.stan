// The model of examples/drug_elimination/model.sbm as a Stan user would write it.
functions {
  vector one_compartment(real t, vector x, real k_a, real K_m, real V_m) {
    return [k_a * 15 * exp(-k_a * t) - V_m / 2 * x[1] / (K_m + x[1])]';
  }
}
data {
  int<lower=1> n;
  array[n] real<lower=0> days;  // after the start
  array[n] real<lower=0> concentration;
  real<lower=0> tolerance;
}
parameters {
  real<lower=0> k_a, K_m, V_m, sigma;
}
model {
  k_a ~ cauchy(0, 1);
  K_m ~ cauchy(0, 1);
  V_m ~ cauchy(0, 1);
  sigma ~ cauchy(0, 1);
  array[n] vector[1] path = ode_rk45_tol(one_compartment, [0]', 0, days, tolerance, tolerance, 100000, k_a, K_m, V_m);
  for (i in 1:n) concentration[i] ~ lognormal(log(path[i, 1]), sigma);
}
