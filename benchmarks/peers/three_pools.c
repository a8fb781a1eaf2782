/* The Kalman log-likelihood of three_pools.sbm with its gradient, written out by hand for this one model.

   State x (S, D, M) and covariance P, symmetric, kept as (00, 01, 02, 11, 12, 22). Measurements are scalar, one
   after the other. The forward sweep stores x and P before each step and each measurement; the reverse sweep
   takes them from there. cc -O3 -march=native -ffast-math -shared -fPIC three_pools.c -o three_pools.so -lm */
#include <math.h>
#include <string.h>

typedef struct { double x[3], P[6]; } Law;
enum { A = 0, B = 1, C = 2, D = 3, E = 4, F = 5 };

/* The transition of a step: f31 is zero. */
typedef struct { double f11, f12, f13, f21, f22, f23, f32, f33; } Step;

static inline Step transition(const double *p, double kS, double kD, double kM) {
  const Step f = {1 - kS, p[2] * kD, p[3] * p[4] * kM, p[1] * kS, 1 - p[0] - kD, p[3] * (1 - p[4]) * kM, p[0], 1 - kM};
  return f;
}

static inline Law predicted(Law s, Step f, const double *in, const double *q) {
  Law n;
  n.x[0] = f.f11 * s.x[0] + f.f12 * s.x[1] + f.f13 * s.x[2] + in[0];
  n.x[1] = f.f21 * s.x[0] + f.f22 * s.x[1] + f.f23 * s.x[2] + in[1];
  n.x[2] = f.f32 * s.x[1] + f.f33 * s.x[2] + in[2];
  const double *P = s.P;
  const double g11 = f.f11 * P[A] + f.f12 * P[B] + f.f13 * P[C], g12 = f.f11 * P[B] + f.f12 * P[D] + f.f13 * P[E],
               g13 = f.f11 * P[C] + f.f12 * P[E] + f.f13 * P[F], g21 = f.f21 * P[A] + f.f22 * P[B] + f.f23 * P[C],
               g22 = f.f21 * P[B] + f.f22 * P[D] + f.f23 * P[E], g23 = f.f21 * P[C] + f.f22 * P[E] + f.f23 * P[F],
               g32 = f.f32 * P[D] + f.f33 * P[E], g33 = f.f32 * P[E] + f.f33 * P[F];
  n.P[A] = g11 * f.f11 + g12 * f.f12 + g13 * f.f13 + q[0];
  n.P[B] = g11 * f.f21 + g12 * f.f22 + g13 * f.f23;
  n.P[C] = g12 * f.f32 + g13 * f.f33;
  n.P[D] = g21 * f.f21 + g22 * f.f22 + g23 * f.f23 + q[1];
  n.P[E] = g22 * f.f32 + g23 * f.f33;
  n.P[F] = g32 * f.f32 + g33 * f.f33 + q[2];
  return n;
}

static inline void times(const double *P, const double *h, double *out) {
  out[0] = P[A] * h[0] + P[B] * h[1] + P[C] * h[2];
  out[1] = P[B] * h[0] + P[D] * h[1] + P[E] * h[2];
  out[2] = P[C] * h[0] + P[E] * h[1] + P[F] * h[2];
}

static inline double dot(const double *a, const double *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static inline Law measured(Law s, const double *h, double y, double r, double *value) {
  double g[3];
  times(s.P, h, g);
  const double one = 1 / (dot(h, g) + r), v = y - dot(h, s.x);
  for (int i = 0; i < 3; i++) s.x[i] += g[i] * v * one;
  s.P[A] -= g[0] * g[0] * one; s.P[B] -= g[0] * g[1] * one; s.P[C] -= g[0] * g[2] * one;
  s.P[D] -= g[1] * g[1] * one; s.P[E] -= g[1] * g[2] * one; s.P[F] -= g[2] * g[2] * one;
  *value -= 0.5 * (v * v * one - log(one));
  return s;
}

/* Adjoint of a measurement at the law s before it: b is the adjoint of the law after it (P as of a full symmetric
   matrix) and becomes that before it; dh gains the adjoint of h. */
static inline void measured_adjoint(Law s, const double *h, double y, double r, Law *b, double *dh) {
  double g[3], u[3], dg[3], Pdg[3];
  times(s.P, h, g);
  times(b->P, g, u);
  const double one = 1 / (dot(h, g) + r), v = y - dot(h, s.x), bg = dot(b->x, g);
  const double ds = one * one * (dot(g, u) - v * bg) - 0.5 * one * (1 - v * v * one), dv = one * (bg - v);
  for (int i = 0; i < 3; i++) dg[i] = one * (v * b->x[i] - 2 * u[i]) + ds * h[i];
  times(s.P, dg, Pdg);
  for (int i = 0; i < 3; i++) {
    dh[i] += ds * g[i] - dv * s.x[i] + Pdg[i];
    b->x[i] -= dv * h[i];
  }
  b->P[A] += dg[0] * h[0]; b->P[B] += 0.5 * (dg[0] * h[1] + h[0] * dg[1]); b->P[C] += 0.5 * (dg[0] * h[2] + h[0] * dg[2]);
  b->P[D] += dg[1] * h[1]; b->P[E] += 0.5 * (dg[1] * h[2] + h[1] * dg[2]); b->P[F] += dg[2] * h[2];
}

/* theta (14) in the order of the model. rows observations, `every` steps before each. warm (step), inflow (step, 3),
   seen (row), y (row, 4), start (3 means, 3 variances), errors (4 variances). work: 12 step + 39 row numbers.
   Writes the gradient (14) and returns the log-likelihood. */
double three_pools(const double *restrict p, int rows, int every, const double *restrict warm,
                   const double *restrict inflow, const double *restrict seen, const double *restrict y,
                   const double *restrict start, const double *restrict errors, double *restrict gradient,
                   double *restrict work) {
  const int steps = rows * every;
  double *k = work, *o = k + 3 * steps;
  Law *path = (Law *)(o + 3 * rows), *at = path;
  for (int i = 0; i < steps; i++)
    for (int j = 0; j < 3; j++) k[3 * i + j] = p[5 + j] * exp(-p[8 + j] * warm[i]);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < 3; j++) o[3 * i + j] = p[5 + j] * exp(-p[8 + j] * seen[i]);
  const double q[3] = {p[11] * p[11], p[12] * p[12], p[13] * p[13]};
  const double axis[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
  double value = -0.5 * 4 * rows * log(2 * M_PI);
  Law s = {{start[0], start[1], start[2]}, {start[3], 0, 0, start[4], 0, start[5]}};
  for (int n = 0, i = 0; n < rows; n++) {
    for (int j = 0; j < every; j++, i++) {
      *at++ = s;
      s = predicted(s, transition(p, k[3 * i], k[3 * i + 1], k[3 * i + 2]), inflow + 3 * i, q);
    }
    const double *w = o + 3 * n, h[3] = {(1 - p[1]) * w[0], (1 - p[2]) * w[1], (1 - p[3]) * w[2]};
    for (int c = 0; c < 3; c++) { *at++ = s; s = measured(s, axis[c], y[4 * n + c], errors[c], &value); }
    *at++ = s;
    s = measured(s, h, y[4 * n + 3], errors[3], &value);
  }
  double g[14] = {0}, dF[8], dh[3], lost[3];
  Law b = {{0, 0, 0}, {0, 0, 0, 0, 0, 0}};
  for (int n = rows - 1, i = steps - 1; n >= 0; n--) {
    const double *w = o + 3 * n, h[3] = {(1 - p[1]) * w[0], (1 - p[2]) * w[1], (1 - p[3]) * w[2]};
    memset(dh, 0, sizeof dh);
    measured_adjoint(*--at, h, y[4 * n + 3], errors[3], &b, dh);
    for (int c = 2; c >= 0; c--) { at--; measured_adjoint(*at, axis[c], y[4 * n + c], errors[c], &b, lost); }
    for (int j = 0; j < 3; j++) {
      g[1 + j] -= dh[j] * w[j];
      g[5 + j] += dh[j] * h[j];
      g[8 + j] -= dh[j] * h[j] * seen[n];
    }
    for (int j = 0; j < every; j++, i--) {
      const Law s = *--at;
      const double kS = k[3 * i], kD = k[3 * i + 1], kM = k[3 * i + 2];
      const Step f = transition(p, kS, kD, kM);
      const double *P = b.P;
      /* W = Pbar F; the adjoint of F is xbar x^T + 2 W P. */
      const double w11 = P[A] * f.f11 + P[B] * f.f21, w12 = P[A] * f.f12 + P[B] * f.f22 + P[C] * f.f32,
                   w13 = P[A] * f.f13 + P[B] * f.f23 + P[C] * f.f33, w21 = P[B] * f.f11 + P[D] * f.f21,
                   w22 = P[B] * f.f12 + P[D] * f.f22 + P[E] * f.f32, w23 = P[B] * f.f13 + P[D] * f.f23 + P[E] * f.f33,
                   w31 = P[C] * f.f11 + P[E] * f.f21, w32 = P[C] * f.f12 + P[E] * f.f22 + P[F] * f.f32,
                   w33 = P[C] * f.f13 + P[E] * f.f23 + P[F] * f.f33;
      const double *x = s.x, *V = s.P;
      g[11] += P[A]; g[12] += P[D]; g[13] += P[F];
      dF[0] = b.x[0] * x[0] + 2 * (w11 * V[A] + w12 * V[B] + w13 * V[C]);
      dF[1] = b.x[0] * x[1] + 2 * (w11 * V[B] + w12 * V[D] + w13 * V[E]);
      dF[2] = b.x[0] * x[2] + 2 * (w11 * V[C] + w12 * V[E] + w13 * V[F]);
      dF[3] = b.x[1] * x[0] + 2 * (w21 * V[A] + w22 * V[B] + w23 * V[C]);
      dF[4] = b.x[1] * x[1] + 2 * (w21 * V[B] + w22 * V[D] + w23 * V[E]);
      dF[5] = b.x[1] * x[2] + 2 * (w21 * V[C] + w22 * V[E] + w23 * V[F]);
      dF[6] = b.x[2] * x[1] + 2 * (w31 * V[B] + w32 * V[D] + w33 * V[E]);
      dF[7] = b.x[2] * x[2] + 2 * (w31 * V[C] + w32 * V[E] + w33 * V[F]);
      Law a;
      a.x[0] = f.f11 * b.x[0] + f.f21 * b.x[1];
      a.x[1] = f.f12 * b.x[0] + f.f22 * b.x[1] + f.f32 * b.x[2];
      a.x[2] = f.f13 * b.x[0] + f.f23 * b.x[1] + f.f33 * b.x[2];
      a.P[A] = f.f11 * w11 + f.f21 * w21;
      a.P[B] = f.f11 * w12 + f.f21 * w22;
      a.P[C] = f.f11 * w13 + f.f21 * w23;
      a.P[D] = f.f12 * w12 + f.f22 * w22 + f.f32 * w32;
      a.P[E] = f.f12 * w13 + f.f22 * w23 + f.f32 * w33;
      a.P[F] = f.f13 * w13 + f.f23 * w23 + f.f33 * w33;
      b = a;
      const double dS = (p[1] * dF[3] - dF[0]) * kS, dD = (p[2] * dF[1] - dF[4]) * kD,
                   dM = (p[3] * (p[4] * dF[2] + (1 - p[4]) * dF[5]) - dF[7]) * kM;
      g[0] += dF[6] - dF[4];
      g[1] += dF[3] * kS;
      g[2] += dF[1] * kD;
      g[3] += (p[4] * dF[2] + (1 - p[4]) * dF[5]) * kM;
      g[4] += p[3] * (dF[2] - dF[5]) * kM;
      g[5] += dS; g[6] += dD; g[7] += dM;
      g[8] -= dS * warm[i]; g[9] -= dD * warm[i]; g[10] -= dM * warm[i];
    }
  }
  for (int j = 0; j < 3; j++) { g[5 + j] /= p[5 + j]; g[11 + j] *= 2 * p[11 + j]; }
  memcpy(gradient, g, sizeof g);
  return value;
}

/* The same, so often, for timing without the cost of the call from Python. */
double repeated(int times, const double *p, int rows, int every, const double *warm, const double *inflow,
                const double *seen, const double *y, const double *start, const double *errors, double *gradient,
                double *work) {
  double sum = 0;
  for (int i = 0; i < times; i++)
    sum += three_pools(p, rows, every, warm, inflow, seen, y, start, errors, gradient, work);
  return sum / times;
}
