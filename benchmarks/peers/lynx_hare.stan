// The model of examples/lynx_hare/model.sbm as a Stan user would write it.
functions {
  vector lotka_volterra(real t, vector x, real alpha, real beta, real gamma, real delta) {
    return [(alpha - beta * x[2]) * x[1], (delta * x[1] - gamma) * x[2]]';
  }
}
data {
  int<lower=1> n;
  array[n] real<lower=0> years;  // after the start
  array[2] real<lower=0> first;
  array[n, 2] real<lower=0> pelts;
  real<lower=0> tolerance;
}
parameters {
  real<lower=0> alpha, beta, gamma, delta;
  vector<lower=0>[2] start;
  vector<lower=0>[2] sigma;
}
model {
  alpha ~ normal(1, 0.5);
  beta ~ normal(0.05, 0.05);
  gamma ~ normal(1, 0.5);
  delta ~ normal(0.05, 0.05);
  start ~ lognormal(log(10), 1);
  sigma ~ lognormal(-1, 1);
  first ~ lognormal(log(start), sigma);
  array[n] vector[2] path = ode_rk45_tol(lotka_volterra, start, 0, years, tolerance, tolerance, 100000,
                                         alpha, beta, gamma, delta);
  for (k in 1:2) pelts[, k] ~ lognormal(log(path[, k]), sigma[k]);
}
