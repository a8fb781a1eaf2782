// The problem of kalman.py as an expert writes it in Stan: a scalar Kalman filter, measurements one by one.
data {
  int rows;
  int every;
  vector[rows * every] warm;
  vector[rows * every] litter_S;
  vector[rows * every] litter_D;
  vector[rows] seen;
  array[rows] vector[4] y;
  vector[14] low, high, prior;
  vector[3] start, start_sd;
  vector[4] errors;
}
parameters {
  vector[14] z;
}
model {
  vector[14] p = low + (high - low) .* inv_logit(z);
  vector[rows * every] kS = p[6] * exp(-p[9] * warm);
  vector[rows * every] kD = p[7] * exp(-p[10] * warm);
  vector[rows * every] kM = p[8] * exp(-p[11] * warm);
  vector[rows] oS = (1 - p[2]) * p[6] * exp(-p[9] * seen);
  vector[rows] oD = (1 - p[3]) * p[7] * exp(-p[10] * seen);
  vector[rows] oM = (1 - p[4]) * p[8] * exp(-p[11] * seen);
  real S = start[1];
  real D = start[2];
  real M = start[3];
  real a = square(start_sd[1]);  // the covariance, row by row: a b c, d e, f
  real b = 0;
  real c = 0;
  real d = square(start_sd[2]);
  real e = 0;
  real f = square(start_sd[3]);
  real qS = square(p[12]);
  real qD = square(p[13]);
  real qM = square(p[14]);
  real back_S = p[4] * p[5];
  real back_D = p[4] * (1 - p[5]);
  int i = 1;
  z ~ normal(prior, 1);
  for (k in 1:rows) {
    for (j in 1:every) {
      real f11 = 1 - kS[i];
      real f12 = p[3] * kD[i];
      real f13 = back_S * kM[i];
      real f21 = p[2] * kS[i];
      real f22 = 1 - p[1] - kD[i];
      real f23 = back_D * kM[i];
      real f33 = 1 - kM[i];
      real S_new = f11 * S + f12 * D + f13 * M + litter_S[i];
      real D_new = f21 * S + f22 * D + f23 * M + litter_D[i];
      real g11 = f11 * a + f12 * b + f13 * c;
      real g12 = f11 * b + f12 * d + f13 * e;
      real g13 = f11 * c + f12 * e + f13 * f;
      real g21 = f21 * a + f22 * b + f23 * c;
      real g22 = f21 * b + f22 * d + f23 * e;
      real g23 = f21 * c + f22 * e + f23 * f;
      real g32 = p[1] * d + f33 * e;
      real g33 = p[1] * e + f33 * f;
      M = p[1] * D + f33 * M;
      S = S_new;
      D = D_new;
      a = g11 * f11 + g12 * f12 + g13 * f13 + qS;
      b = g11 * f21 + g12 * f22 + g13 * f23;
      c = g12 * p[1] + g13 * f33;
      d = g21 * f21 + g22 * f22 + g23 * f23 + qD;
      e = g22 * p[1] + g23 * f33;
      f = g32 * p[1] + g33 * f33 + qM;
      i += 1;
    }
    for (o in 1:4) {
      real p1;
      real p2;
      real p3;
      real s;
      real v;
      if (o == 1) {
        p1 = a; p2 = b; p3 = c; s = a; v = y[k, 1] - S;
      } else if (o == 2) {
        p1 = b; p2 = d; p3 = e; s = d; v = y[k, 2] - D;
      } else if (o == 3) {
        p1 = c; p2 = e; p3 = f; s = f; v = y[k, 3] - M;
      } else {
        p1 = a * oS[k] + b * oD[k] + c * oM[k];
        p2 = b * oS[k] + d * oD[k] + e * oM[k];
        p3 = c * oS[k] + e * oD[k] + f * oM[k];
        s = p1 * oS[k] + p2 * oD[k] + p3 * oM[k];
        v = y[k, 4] - oS[k] * S - oD[k] * D - oM[k] * M;
      }
      s += square(errors[o]);
      real one = inv(s);
      real g1 = p1 * one;
      real g2 = p2 * one;
      real g3 = p3 * one;
      target += -0.5 * (log(s) + v * v * one + 1.8378770664093453);
      S += g1 * v;
      D += g2 * v;
      M += g3 * v;
      a -= g1 * p1;
      b -= g1 * p2;
      c -= g1 * p3;
      d -= g2 * p2;
      e -= g2 * p3;
      f -= g3 * p3;
    }
  }
}
